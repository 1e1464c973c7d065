package inference

import (
	"context"
	"time"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

// advertPause is the least time between two adverts, so that a busy worker does not write one for
// each request.
const advertPause = 100 * time.Millisecond

// tell keeps this worker's advert up to date until ctx ends: from there on no request is sent here.
func (s *Service) tell(ctx context.Context) error {
	ticker := time.NewTicker(bus.AdvertRenewal)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if err := s.deps.Bus.PutAdvert(ctx, s.advert()); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot tell what this worker can take", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(advertPause):
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		case <-s.told:
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	advert := s.advert()
	advert.Ready, advert.Draining = false, true
	if err := s.deps.Bus.PutAdvert(last, advert); err != nil {
		s.log.Debug("cannot tell that this worker ends; its advert will expire", "error", err)
	}
	return nil
}

// farewell takes the advert away when the last request has been answered.
func (s *Service) farewell(ctx context.Context) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.deps.Bus.RemoveAdvert(last, s.deps.Worker); err != nil {
		s.log.Debug("cannot take this worker's advert away; it will expire", "error", err)
	}
}

// advert is what this worker can take now.
func (s *Service) advert() *pb.WorkerAdvert {
	advert := &pb.WorkerAdvert{Id: s.deps.Worker, Ready: s.isReady(), Adapters: s.states.list(s.host.has)}
	for _, m := range s.pool.loaded() {
		stats := m.engine.Stats()
		waiting, _ := m.gate.queue()
		advert.Bases = append(advert.Bases, &pb.BaseAdvert{
			Base: m.base.Ref, Digest: m.base.Digest, Rows: uint32(s.cfg.MaxRows),
			FreeRows: uint32(max(s.cfg.MaxRows-stats.Rows, 0)), Waiting: uint32(stats.Waiting + waiting), MaxWaiting: uint32(s.cfg.MaxWaiting),
			PromptTokens: stats.PromptTokens, OutputTokens: stats.OutputTokens,
		})
	}
	return advert
}

// tellSoon has the advert written anew.
func (s *Service) tellSoon() {
	select {
	case s.told <- struct{}{}:
	default: // it will be
	}
}

// isReady tells whether requests are taken.
func (s *Service) isReady() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}
