"""The memory: records, the ledger that keeps them, and the lookups that find them again. No HTTP, no models."""
