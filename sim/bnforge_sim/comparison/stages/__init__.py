"""The stages: each module has ``run(config, **options)``, which returns plain data for JSON."""
