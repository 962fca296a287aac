"""Making an archive of training pictures: resized once, checked, split, with a page about what is in it."""

from padinv.datasets.prepare import DatasetSettings, DatasetSummary, prepare_dataset

__all__ = ["DatasetSettings", "DatasetSummary", "prepare_dataset"]
