// Package gguf writes models and LoRA adapters in the format of llama.cpp and Ollama.
//
// Layout of a file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), version 3, little endian:
//
//	"GGUF"  u32 version  u64 tensors  u64 fields
//	fields   key, u32 type, value
//	tensors  name, u32 dimensions, u64 each (the fastest first: reversed), u32 type, u64 offset
//	padding to 32 bytes; the tensors, each padded to 32 bytes
//
// Names, fields and the order of rows are those of llama.cpp's convert_hf_to_gguf.py and convert_lora_to_gguf.py.
// What llama.cpp would compute otherwise than transformers is refused, never approximated.
package gguf
