"""Stand-alone scripts that obtain a public data set, check it and convert it once to Parquet."""
