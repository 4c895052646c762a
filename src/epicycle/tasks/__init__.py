"""Formulas to tables of questions and answers, and their splits."""
