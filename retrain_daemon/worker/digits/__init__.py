"""The demo's people and data: handwritten digits, written as files and registered as a person would.

One model for each framework that is installed: `python -m retrain_daemon.worker.digits FOLDER TRACKING_URI [MODEL]`.
"""
