"""From a query to ranked hits: retrieval branches, fusion, reranking, grouping."""
