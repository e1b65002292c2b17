"""Trains the emoji model stage by stage and exports the pipeline folder.

    python train.py autoencoder --data DATA --run RUN --minutes 25
    python train.py tokenizers  --data DATA --run RUN
    python train.py conditioning --data DATA --run RUN --minutes 8
    python train.py generator   --data DATA --run RUN --minutes 240
    python train.py scorer      --data DATA --run RUN --minutes 15
    python train.py export      --data DATA --run RUN --output ../

DATA holds images.tar and captions.jsonl. RUN keeps checkpoints: a stage that was interrupted goes
on where it stopped when it is started again with the same arguments. `--minutes` is the time
that a stage trains in all. `export` may run at any moment; it takes the latest averaged weights.
"""

import argparse
from pathlib import Path

import torch


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["autoencoder", "tokenizers", "conditioning",
                                          "generator", "scorer", "export"])
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--data", type=Path, required=True,
                        help="folder with images.tar and captions.jsonl")
    parser.add_argument("--output", type=Path, help="export: folder of the pipeline")
    parser.add_argument("--size", type=int, default=64, help="pictures' width and height, pixels")
    parser.add_argument("--minutes", type=float, default=15, help="training time of the stage")
    parser.add_argument("--batch", type=int, help="samples per step (default: the stage's)")
    parser.add_argument("--learning-rate", type=float, help="peak (default: the stage's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.run.mkdir(parents=True, exist_ok=True)
    # A stage imports what it needs, so that the autoencoder trains without transformers.
    if args.stage == "autoencoder":
        from autoencoder import train_autoencoder as run
    elif args.stage == "tokenizers":
        from text import train_tokenizers as run
    elif args.stage == "conditioning":
        from conditioning import train_conditioning as run
    elif args.stage == "generator":
        from generator import train_generator as run
    elif args.stage == "scorer":
        from scorer import train_scorer as run
    else:
        from export import export as run
    run(args)


if __name__ == "__main__":
    main()
