"""The result of a run as one object, and as files a person or a program reads."""

from oracle.report.model import Report

__all__ = ["Report"]
