"""What was found, for eyes: thumbnails, contact sheets, HTML for notebooks, Markdown."""
