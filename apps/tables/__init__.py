"""Reading anyone's tables: formats, headers, numbers and times, each named when it is unclear."""
