"""MagnifierNet in its two stages through torchreid's Python API.

    python examples/train_magnifiernet.py

As it stands it runs on generated pedestrians; for a dataset of your own take its name with
``_masks`` as the source, the model ``magnifiernet`` at 384x192, and the lengths and rates of
``examples/configs``.
"""

import torch
import torchreid

DATASET = "synthetic_pedestrians"
MODEL = "magnifiernet_r18"
SAVE_DIR = "log/example"


def train(stage: int, loss: str, epochs: int, lr: float, weights: str | None = None) -> str:
    """Train one stage; returns the checkpoint that it ends with."""
    datamanager = torchreid.data.ImageDataManager(
        root="reid-data",
        sources=f"{DATASET}_masks",  # images with part labels as a fourth channel
        targets=DATASET,  # testing needs no labels
        height=128,
        width=64,
        transforms=["random_flip"],
        batch_size_train=32,
        workers=2,
        train_sampler="RandomIdentitySampler",
    )
    model = torchreid.models.build_model(
        MODEL, num_classes=datamanager.num_train_pids, loss=loss, pretrained=False
    )
    if weights:
        torchreid.utils.load_pretrained_weights(model, weights)
    if torch.cuda.is_available():
        model = model.cuda()
    optimizer = torchreid.optim.build_optimizer(model, optim="adam", lr=lr)
    scheduler = torchreid.optim.build_lr_scheduler(
        optimizer, "warmup_multi_step" if stage == 1 else "single_step", stepsize=[epochs]
    )
    engine = torchreid.engine.ImageTripletEngine(
        datamanager, model, optimizer, weight_t=1, weight_x=1, scheduler=scheduler
    )
    save_dir = f"{SAVE_DIR}/stage{stage}"
    engine.run(save_dir=save_dir, max_epoch=epochs, dist_metric="cosine")
    return f"{save_dir}/model/model.pth.tar-{epochs}"


if __name__ == "__main__":
    torchreid.utils.set_random_seed(1)
    stage1 = train(1, "triplet", epochs=20, lr=2e-3)
    train(2, "triplet_sd", epochs=5, lr=2e-4, weights=stage1)
