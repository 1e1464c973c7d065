package inference

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"descant/pkg/generate"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// gauges tell how a worker is at the moment they are asked for: the metrics of the model-server protocol of Kubernetes'
// gateway API inference extension, under vLLM's names.
type gauges struct {
	service *Service
	running, waiting, cache, prompt, generated, looked, hits, drafted, accepted,
	compilations, lora, held, heldBytes *prometheus.Desc
}

func newGauges(s *Service) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &gauges{
		service:      s,
		running:      desc("vllm:num_requests_running", "Requests in the batch.", "model_name", "engine"),
		waiting:      desc("vllm:num_requests_waiting", "Requests that wait for a row or a slot.", "model_name", "engine"),
		cache:        desc("vllm:kv_cache_usage_perc", "Part of the KV cache in use, 1 is all: a row is taken as a whole.", "model_name", "engine"),
		prompt:       desc("vllm:prompt_tokens_total", "Prompt tokens computed.", "model_name", "engine"),
		generated:    desc("vllm:generation_tokens_total", "Tokens generated.", "model_name", "engine"),
		looked:       desc("vllm:prefix_cache_queries_total", "Prompt tokens that were looked for in the prefix cache.", "model_name", "engine"),
		hits:         desc("vllm:prefix_cache_hits_total", "Prompt tokens that were taken from the prefix cache.", "model_name", "engine"),
		drafted:      desc("vllm:spec_decode_num_draft_tokens_total", "Tokens proposed by looking back in the text.", "model_name", "engine"),
		accepted:     desc("vllm:spec_decode_num_accepted_tokens_total", "Proposed tokens that were right.", "model_name", "engine"),
		compilations: desc("descant_compilations_total", "Programs compiled; grows no more once a base is warm.", "model_name", "engine"),
		lora: desc("vllm:lora_requests_info", "Adapters that answer at once, those that requests wait for, and how many have room; the value is the time.",
			"max_lora", "running_lora_adapters", "waiting_lora_adapters"),
		held:      desc("descant_adapters_held", "Adapters, and sums of adapters, in each tier: slot, host (memory) and disk.", "tier"),
		heldBytes: desc("descant_adapters_held_bytes", "Bytes of the adapters in host memory and on disk.", "tier"),
	}
}

// Describe tells which numbers there are.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{g.running, g.waiting, g.cache, g.prompt, g.generated, g.looked, g.hits, g.drafted, g.accepted, g.compilations, g.lora, g.held, g.heldBytes} {
		out <- desc
	}
}

// Collect reads the numbers.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	s := g.service
	sums, waitingFor := g.byName()
	for name, stats := range sums {
		tell := func(desc *prometheus.Desc, kind prometheus.ValueType, x float64) {
			out <- prometheus.MustNewConstMetric(desc, kind, x, name, engineLabel)
		}
		tell(g.running, prometheus.GaugeValue, float64(stats.Rows))
		tell(g.waiting, prometheus.GaugeValue, float64(stats.Waiting))
		tell(g.cache, prometheus.GaugeValue, float64(stats.Rows)/float64(stats.bases*s.cfg.MaxRows))
		tell(g.prompt, prometheus.CounterValue, float64(stats.PromptTokens))
		tell(g.generated, prometheus.CounterValue, float64(stats.OutputTokens))
		tell(g.looked, prometheus.CounterValue, float64(stats.PromptTokens+stats.CachedTokens))
		tell(g.hits, prometheus.CounterValue, float64(stats.CachedTokens))
		tell(g.drafted, prometheus.CounterValue, float64(stats.DraftedTokens))
		tell(g.accepted, prometheus.CounterValue, float64(stats.AcceptedTokens))
		tell(g.compilations, prometheus.CounterValue, float64(stats.Compilations))
	}
	g.collectTiers(out)
	var ready []string
	for _, a := range s.advert().GetAdapters() {
		if a.GetState() == stateReady {
			ready = append(ready, a.GetDigest())
		}
	}
	out <- prometheus.MustNewConstMetric(g.lora, prometheus.GaugeValue, float64(time.Now().UnixNano())/1e9,
		strconv.Itoa(s.cfg.Slots), s.names.list(ready), s.names.list(waitingFor))
}

// named are the numbers of the bases of one name, with the requests at their gates.
type named struct {
	generate.Stats
	bases int
}

// byName adds up the numbers of the bases by their names, since a name may stand for two snapshots that are both in memory.
func (g *gauges) byName() (sums map[string]*named, waitingFor []string) {
	sums = map[string]*named{}
	for _, m := range g.service.pool.loaded() {
		sum := sums[m.base.Ref]
		if sum == nil {
			sum = new(named)
			sums[m.base.Ref] = sum
		}
		stats := m.engine.Stats()
		waiting, keys := m.gate.queue()
		waitingFor = append(waitingFor, keys...)
		sum.bases++
		sum.Compilations += stats.Compilations
		sum.Rows += stats.Rows
		sum.Waiting += stats.Waiting + waiting
		sum.PromptTokens += stats.PromptTokens
		sum.OutputTokens += stats.OutputTokens
		sum.CachedTokens += stats.CachedTokens
		sum.DraftedTokens += stats.DraftedTokens
		sum.AcceptedTokens += stats.AcceptedTokens
	}
	return sums, waitingFor
}

// collectTiers tells where the adapters lie.
func (g *gauges) collectTiers(out chan<- prometheus.Metric) {
	tell := func(desc *prometheus.Desc, x int64, tier string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(x), tier)
	}
	inSlots := 0
	for _, m := range g.service.pool.loaded() {
		inSlots += len(m.slots.keys())
	}
	tell(g.held, int64(inSlots), "slot")
	n, bytes := g.service.host.held()
	tell(g.held, int64(n), "host")
	tell(g.heldBytes, bytes, "host")
	if all, total, err := g.service.disk.folders(); err == nil { // what cannot be read is not told
		tell(g.held, int64(len(all)), "disk")
		tell(g.heldBytes, total, "disk")
	}
}

// names knows by which names requests ask for a version.
type names struct {
	mu      sync.Mutex
	entries map[string]*pb.AdapterEntry
}

func (n *names) put(entry *pb.AdapterEntry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.entries == nil {
		n.entries = map[string]*pb.AdapterEntry{}
	}
	n.entries[entry.GetName()] = entry
}

// list gives all names of some versions, with commas: name@version, name for the latest, name@alias.
func (n *names) list(digests []string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for name, entry := range n.entries {
		for _, version := range entry.GetVersions() {
			if !slices.Contains(digests, version.GetDigest()) {
				continue
			}
			all = append(all, registry.Pinned(name, version.GetVersion()))
			for alias, at := range entry.GetAliases() {
				switch {
				case at != version.GetVersion():
				case alias == registry.Latest:
					all = append(all, name)
				default:
					all = append(all, name+"@"+alias)
				}
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}
