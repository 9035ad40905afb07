"""How good models are on data sets in the formats of the field, scored as the field scores them."""
