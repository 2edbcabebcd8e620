"""Projects: a folder of images, words and label maps that people and programs work on together."""
