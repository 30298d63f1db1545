"""Lets tools that know no pyproject.toml install the package; the metadata is there."""

from setuptools import setup

setup()
