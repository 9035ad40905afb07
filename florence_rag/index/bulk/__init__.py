"""Bulk files: export to Parquet, and bulk import."""
