"""How the tables came to be: Alembic, run by `shared.database.upgrade`. Forward only."""
