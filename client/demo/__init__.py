"""`iconotext demo`: real photos, real models, one table."""
