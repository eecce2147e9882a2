"""Answers: which prompt is asked, and how an answer is generated."""
