"""The pages of a report: sections in words, HTML, Markdown, exported files."""
