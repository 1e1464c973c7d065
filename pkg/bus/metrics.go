package bus

import (
	"context"
	"fmt"
	"time"

	"descant/pkg/pb"
)

// Report publishes numbers of a service; they are kept for an hour, in memory.
func (b *Bus) Report(ctx context.Context, service, instance string, values map[string]float64) error {
	for what, token := range map[string]string{"service": service, "instance": instance} {
		if err := checkToken(what, token); err != nil {
			return err
		}
	}
	data, err := ToJSON(&pb.MetricSample{Service: service, Instance: instance, Time: Timestamp(time.Now()), Values: values})
	if err != nil {
		return err
	}
	if _, err := b.js.PublishMsg(ctx, message(metricSubject(service, instance), data)); err != nil {
		return fmt.Errorf("report metrics of %s: %w", service, err)
	}
	return nil
}
