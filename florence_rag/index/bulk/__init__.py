"""Bulk files: an index as Parquet files in the layout of Milvus' bulk import, and the ways back."""
