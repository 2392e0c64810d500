"""The answer: recipes that train, the store, loading and scoring. No HTTP, no SQL; "model" never means a table here."""
