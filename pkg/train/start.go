package train

import (
	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
)

// CheckDevice says, before anything is loaded, that a device cannot compute in the dtype of the settings: [model.ErrNoBF16].
func CheckDevice(dev *device.Device, t job.Training) error {
	if t.DType == job.DTypeBF16 && dev.Kind() == device.Go {
		return model.ErrNoBF16
	}
	return nil
}

// adapter is what training starts with: a new adapter, or that of InitFrom. Its errors are user errors.
func (c Config) adapter(base *model.Config) (*lora.Adapter, error) {
	plan, err := lora.PlanTraining(base, c.Training, c.BaseName)
	if err != nil {
		return nil, err
	}
	if c.InitFrom == "" {
		return &lora.Adapter{Plan: plan, Flats: plan.Init(c.Training.Seed)}, nil
	}
	parent, err := lora.Load(base, c.InitFrom)
	if err != nil {
		return nil, job.UserError(job.CodeBadRequest, "training cannot go on from adapter "+c.Training.InitFrom+": "+err.Error(),
			"name a LoRA adapter of this base")
	}
	if err := plan.SameShape(parent.Plan); err != nil {
		return nil, err
	}
	return &lora.Adapter{Plan: plan, Flats: parent.Flats}, nil
}
