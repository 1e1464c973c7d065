// Package bus is how services exchange work over NATS JetStream: typed
// publishing and handling, no behaviour of its own. Only this package and
// embedded import NATS.
//
// Subjects (J: JSON in snake_case, for people; P: protobuf):
//
//	finetune.request                 J  a wish for an adapter, durable
//	finetune.jobs.{create,get,list,cancel,pause,resume}
//	                                 J  micro service, request and reply
//	finetune.control.<job>           J  pb.Control: cancel, pause, resume …
//	finetune.events.<job>.<type>     J  pb.Event: state, step, eval, log, rejected
//	finetune.state.<job>             P  pb.Job, the last message is the record
//	finetune.work.<stage>.<job>      P  pb.Work for tokenize or train
//	finetune.dead.<stage>.<job>      J  pb.DeadLetter
//	adapters.{list,get,alias,promote,rollback,pin,unpin,delete,load,unload}
//	                                 J  micro service
//	models.{list,get}                J  micro service
//	datasets.{list,get,delete,preview,survey}
//	                                 J  micro service
//	tokenizer.{preview,survey}       J  micro service of the tokenizers, which the
//	                                    gateway asks about the rows of a dataset
//	workers.list                     J  micro service
//	inference.chat                   J  pb.ChatRequest → pb.ChatChunk …, ended
//	                                    by an empty message; the gateways answer
//	infer.worker.<id>                P  the same for one worker
//	infer.alive.<id>                    an empty reply while that worker lives
//	metrics.<service>.<instance>     J  pb.MetricSample
//
// Streams and buckets:
//
//	FINETUNE_INTAKE      finetune.request            work queue
//	FINETUNE_JOBS        finetune.state.>            limits, atomic batches
//	                     finetune.work.>
//	                     finetune.events.>
//	FINETUNE_DEAD        finetune.dead.>             limits
//	FINETUNE_ADVISORIES  $JS.EVENT.ADVISORY.CONSUMER.{MAX_DELIVERIES,MSG_TERMINATED}.>
//	FINETUNE_METRICS     metrics.>                   memory, one hour
//	leases (TTL)  registry  workers (TTL)            key-value buckets
//	serving (TTL, memory)       <worker>             P  pb.WorkerAdvert
//
// A job changes by one atomic batch or not at all:
//
//	          ┌ finetune.state.<job>   only if its last sequence is the one read
//	Advance ──┤ finetune.events.<job>.state
//	          └ finetune.work.<stage>.<job>   (when there is a next stage)
//
// A worker that lost its job to another finds out at its next event or change:
// both carry the sequence of the record that it knew, and the stream refuses
// them with [ErrStale]. Acknowledgements do not fence.
//
// Work handlers return nil (done), [Retry], [Release], [Discard] or any other
// error (counted; a dead letter after the attempts). They feed their heartbeat
// themselves, from the loop that does the work: [Task.Heartbeat].
package bus
