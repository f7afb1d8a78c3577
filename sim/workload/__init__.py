"""Which jobs arrive when, and which class each belongs to."""
