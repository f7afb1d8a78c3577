"""Figures: frame -> go.Figure, shared by pages and reports; nothing here knows Dash."""
