"""The shop as processes: environment, database, cache, mail, logs, web server, results, `make run`."""
