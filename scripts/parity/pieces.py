"""A small tokenizer of the kind of Llama 2: SentencePiece pieces with byte fallback."""

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

SPECIAL = ["<unk>", "<s>", "</s>"]
LETTERS = "▁etaoinshrdlucmfwypvbgkjqxz0123456789.,:;-'\"{}[]()"
MERGES = ["t h", "th e", "▁ the", "▁ t", "▁ a", "i n", "e r", "▁ {", "{ \"", "▁ \"", "\" :", "▁ [", "] }", "▁ ▁", "o n", "▁ 1", "1 2"]


def write_sentencepiece(folder):
    folder.mkdir(parents=True, exist_ok=True)
    merges = [tuple(m.split(" ")) for m in MERGES]
    tokens = SPECIAL + [f"<0x{b:02X}>" for b in range(256)] + ["".join(m) for m in merges] + list(LETTERS)
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}) + "\n")
