"""Makes tiny random text encoders with transformers and records what transformers computes.

    python make_encoder_goldens.py [--output fixtures]

All are components of one folder, fixtures/text_encoders. Everything is computed in float32, seeded
and single-threaded; README.md beside this file describes every tensor.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from make_dit_goldens import randomise
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

LAYERS_OF = 1  # the prompt whose every layer is kept

CLIP = {
    # As CLIP-L has them, but for the sizes.
    "clip_quick": dict(vocab_size=120, hidden_size=16, intermediate_size=64, num_hidden_layers=2,
                       num_attention_heads=2, max_position_embeddings=77, hidden_act="quick_gelu",
                       projection_dim=16, bos_token_id=118, eos_token_id=119, pad_token_id=119),
    # As CLIP-G; the end's id of old configurations, with which the largest id is pooled. The
    # names of the tensors are those of transformers before 5, and position_ids is among them.
    "clip_legacy": dict(vocab_size=64, hidden_size=24, intermediate_size=40, num_hidden_layers=1,
                        num_attention_heads=3, max_position_embeddings=20, hidden_act="gelu",
                        projection_dim=8, eos_token_id=2, layer_norm_eps=1e-3),
}
T5 = {
    # As T5 v1.1 has them, but for the sizes; weights of bfloat16. Heads are narrower than the
    # model, and distances reach beyond the last bucket.
    "t5_gated": dict(vocab_size=96, d_model=24, d_kv=4, d_ff=40, num_layers=3, num_heads=3,
                     feed_forward_proj="gated-gelu", relative_attention_num_buckets=32,
                     relative_attention_max_distance=128, dropout_rate=0.0),
    # The first version's feed-forward; in shards.
    "t5_relu": dict(vocab_size=50, d_model=16, d_kv=16, d_ff=32, num_layers=2, num_heads=2,
                    feed_forward_proj="relu", relative_attention_num_buckets=8,
                    relative_attention_max_distance=20, layer_norm_epsilon=1e-3,
                    dropout_rate=0.0),
    # As UL2 and others have it; the table's name without "shared".
    "t5_silu": dict(vocab_size=50, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=4,
                    feed_forward_proj="gated-silu", relative_attention_num_buckets=16,
                    relative_attention_max_distance=64, dropout_rate=0.0),
}
LENGTHS = {"clip_quick": (1, 9, 77), "clip_legacy": (3, 7, 20), "t5_gated": (1, 9, 512),
           "t5_relu": (2, 7, 40), "t5_silu": (3, 11, 100)}


def make_prompts(name: str, vocabulary: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(len(name) + vocabulary)
    prompts = []
    for length in LENGTHS[name]:
        ids = torch.randint(0, vocabulary - 2, (length,), generator=generator).tolist()
        if name == "clip_quick":
            ids[length * 2 // 3:] = [vocabulary - 1] * (length - length * 2 // 3)
        if name == "clip_legacy":
            ids[length // 2] = vocabulary - 1
        prompts.append(ids)
    return prompts


def rename(file: Path, names):
    tensors = load_file(file)
    save_file({names(key): value for key, value in tensors.items()}, file,
              metadata={"format": "pt"})


def save(name: str, model, folder: Path):
    if name == "t5_gated":
        model.to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size=6_000 if name == "t5_relu" else "1GB")
    model.to(torch.float32)  # what it computes with from here on: the rounded numbers
    file = folder / "model.safetensors"
    if name == "clip_legacy":
        rename(file, lambda key: "text_model." + key.removeprefix("text_model."))
        tensors = load_file(file)
        tensors["text_model.embeddings.position_ids"] = torch.arange(20)[None]
        save_file(tensors, file, metadata={"format": "pt"})
    if name == "t5_silu":
        rename(file, lambda key: key.replace("shared.", "encoder.embed_tokens."))


def keep(tensors: dict, name: str):
    def hook(module, inputs, output):
        value = output if isinstance(output, torch.Tensor) else output[0]
        tensors[name] = value[0].clone()
    return hook


def hook_layers(model, tensors: dict, prefix: str) -> list:
    if isinstance(model, CLIPTextModel):
        inner = getattr(model, "text_model", model)
        modules = {"embeddings": inner.embeddings}
        modules |= {f"block.{i}": layer for i, layer in enumerate(inner.encoder.layers)}
    else:
        modules = {"embeddings": model.encoder.embed_tokens}
        for i, block in enumerate(model.encoder.block):
            modules |= {f"block.{i}.attention": block.layer[0], f"block.{i}": block.layer[1]}
    return [module.register_forward_hook(keep(tensors, prefix + name))
            for name, module in modules.items()]


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "fixtures")
    output = parser.parse_args().output / "text_encoders"
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    tensors, encoders = {}, []
    for index, (name, settings) in enumerate((CLIP | T5).items()):
        clip = name in CLIP
        model = CLIPTextModel(CLIPTextConfig(**settings)) if clip else T5EncoderModel(
            T5Config(**settings))
        randomise(model, 3000 + index)
        model.eval()
        save(name, model, output / name)
        prompts = make_prompts(name, settings["vocab_size"])
        for number, ids in enumerate(prompts):
            prefix = f"{name}.{number}."
            hooks = hook_layers(model, tensors, prefix) if number == LAYERS_OF else []
            result = model(torch.tensor([ids]))
            for hook in hooks:
                hook.remove()
            tensors[prefix + "hidden"] = result.last_hidden_state[0]
            if clip:
                tensors[prefix + "pooled"] = result.pooler_output[0]
        encoders.append(dict(name=name, kind="clip" if clip else "t5", prompts=prompts,
                             layers_of=LAYERS_OF))
    (output / "model_index.json").write_text('{"_class_name": "FluxPipeline"}\n')
    save_file({key: value.contiguous() for key, value in tensors.items()},
              output / "goldens.safetensors")
    lines = ",\n".join(json.dumps(encoder) for encoder in encoders)
    (output / "goldens.json").write_text(
        '{"goldens": "goldens.safetensors", "encoders": [\n' + lines + "\n]}\n")
    total = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    print(f"{output.name}: {len(tensors)} tensors, {total / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
