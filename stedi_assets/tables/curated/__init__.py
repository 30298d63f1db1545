"""Curated zone: what data scientists train on."""
