"""From a query to ranked hits: routes, fusion, grouping."""
