"""The one-pass normaliser beside what it replaces: every variant measured by the same rules (docs/compare.md)."""
