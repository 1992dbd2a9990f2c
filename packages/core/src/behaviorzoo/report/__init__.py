"""Reports: one HTML file that shows what went in, what was trained and what came out."""

from behaviorzoo.report.build import ReportInputs, build_report
from behaviorzoo.report.page import Report

__all__ = ["Report", "ReportInputs", "build_report"]
