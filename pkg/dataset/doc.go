// Package dataset reads training rows, says everything that is wrong with them, turns them into token ids with labels in
// Parquet shards, and reads those shards back in a seeded order.
//
// Reading is strict where decoders are kind: repeated keys, keys in another case, halves of surrogate pairs and bytes that
// are no UTF-8 are problems with a line, not silent changes. The format is recognised by content; only a plain text has
// to be called .txt. A bad file is refused as a whole, with all its problems (ValidationError); what is merely odd is in
// the Report.
//
// Shards are Parquet files that other tools read too:
//
//	shard-00000.parquet   input_ids list<int32>, labels list<int32> (-100 = not trained), row int64; zstd
//	                      key/value metadata: descant.format, descant.rows, descant.tokens, descant.trained_tokens,
//	                      descant.loss_on, descant.max_length, and what the caller adds (digests)
//
// labels stand at the position of their token, as in Hugging Face transformers: the shift by one happens in the loss.
package dataset
