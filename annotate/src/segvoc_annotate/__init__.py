"""An annotation product on segvoc: projects that people label, correct and teach in the browser."""
