"""The engine: runs jobs, keeps time, and says what happened; knows no HTTP."""
