// Package safetensors reads and writes the safetensors file format of Hugging Face.
//
// It maps files into memory, checks everything that their headers claim before a byte of a tensor is
// handed out, joins the shards of a model folder into one set, and converts between float32 and the
// 16-bit floating-point types. It does no arithmetic beyond that and knows nothing of models.
//
// Layout of a file (https://huggingface.co/docs/safetensors):
//
//	8 bytes   length n of the header, little endian
//	n bytes   JSON object: name → {"dtype","shape","data_offsets":[begin,end]}, and "__metadata__"
//	the rest  tensors, row-major, little endian; offsets count from here
package safetensors
