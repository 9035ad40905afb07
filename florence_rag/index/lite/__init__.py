"""Workarounds for Milvus Lite."""
