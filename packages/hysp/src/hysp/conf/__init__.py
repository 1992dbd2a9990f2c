"""Yaml files of the settings: ``config.yaml`` for any recording, published recipes beside it."""
