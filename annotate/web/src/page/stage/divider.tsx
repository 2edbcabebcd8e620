/** The line between the image alone and the image with its labels. */

import type { StageControl } from "./control";

export function Divider({ control: { divider, size } }: { control: StageControl }) {
  const share = divider.value!;
  const set = (value: number) => (divider.value = Math.max(0, Math.min(1, value)));
  return (
    <div
      class="divider"
      role="slider"
      tabIndex={0}
      aria-label="Before and after"
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(100 * share)}
      aria-valuetext={`${Math.round(100 * share)} % without labels`}
      style={{ left: `${100 * share}%` }}
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={(event) => {
        if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
        set((event.clientX - event.currentTarget.parentElement!.getBoundingClientRect().left) / size.value.width);
      }}
      onKeyDown={(event) => {
        const steps: Readonly<Record<string, number>> = {
          ArrowLeft: -0.02,
          ArrowDown: -0.02,
          ArrowRight: 0.02,
          ArrowUp: 0.02,
          Home: -1,
          End: 1,
        };
        if (!(event.key in steps)) return;
        event.preventDefault();
        set(share + steps[event.key]);
      }}
    />
  );
}
