"""The report: the same figures and numbers as the pages, of a whole day, week or month, in files and by mail."""
