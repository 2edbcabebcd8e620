"""Models as folders and repositories of the Hugging Face hub: what they hold, fetching, uploading and their cards."""
