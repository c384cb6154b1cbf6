"""The report: finished runs as one HTML file that needs nothing else to be looked at."""

from dnal.report.writing import write_report

__all__ = ["write_report"]
