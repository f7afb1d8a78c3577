"""Face: pages, figures, reports and the command line."""
