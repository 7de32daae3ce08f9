"""How the command reads batches."""

from torch.utils.data import DataLoader


def keeping_workers(loader: DataLoader) -> DataLoader:
    """A loader of the same batches whose worker processes live on from epoch to epoch.

    torchreid's are started anew for every epoch. Their random numbers go on, too: augmentation with
    the same seed differs from torchreid's from the second epoch on, as it does with the number of
    workers.

    Args:
        loader: as torchreid's ``ImageDataManager`` makes it, by a sampler.
    """
    if loader.num_workers == 0:
        return loader
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=loader.sampler,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        persistent_workers=True,
    )
