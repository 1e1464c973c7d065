package main

import "github.com/chromedp/chromedp"

const (
	adapter  = "assistant"
	question = "你好，请问你叫什么名字？"
)

// training is a job by which the tiny base learns the built-in sample.
func training(steps, seed int) map[string]any {
	return map[string]any{
		"model": "builtin:tiny", "training_file": "builtin:sample", "suffix": adapter, "seed": seed, "loss_on": "completion", "max_steps": steps,
		"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "learning_rate": 0.006, "warmup_ratio": 0.1, "adam_beta2": 0.98,
		"r": 16, "lora_alpha": 32, "max_length": 384, "val_size": 0.1, "eval_steps": 20,
	}
}

// tour takes the pictures, in the order in which a person would come to see what they show.
func tour(system *api, b *browser) error {
	first, err := system.post("/v1/fine_tuning/jobs", training(300, 1))
	if err != nil {
		return err
	}
	b.show("jobs/" + first)
	b.until("180 steps", `document.querySelector(".chart")?.dataset.train >= 180`)
	b.shoot("job-en-light")
	b.do("the end of the job", chromedp.WaitVisible("#talk"))
	b.do("a question", chromedp.Click("#talk"), chromedp.WaitVisible("#prompt"), chromedp.SendKeys("#prompt", question), chromedp.Click("#send"))
	b.until("two answers", `[...document.querySelectorAll("#answers .answer")].filter((a) => a.textContent.length > 0).length === 2 &&
		!document.querySelector("#send").disabled`)
	b.shoot("playground-en-light")
	if b.err != nil {
		return b.err
	}

	second, err := system.post("/v1/fine_tuning/jobs", training(120, 2))
	if err != nil {
		return err
	}
	b.show("jobs/" + second)
	b.do("the end of the second job", chromedp.WaitVisible("#talk"))
	if b.err != nil {
		return b.err
	}
	// A tenth of the users of prod gets the second version.
	if _, err := system.post("/v1/descant/adapters/"+adapter+"@1/promote", map[string]any{"alias": "prod"}); err != nil {
		return err
	}
	if _, err := system.post("/v1/descant/adapters/"+adapter+"@2/promote", map[string]any{"alias": "prod", "weight": 10}); err != nil {
		return err
	}
	b.do("dark", chromedp.Click("#theme"))
	b.until("dark", `document.documentElement.dataset.theme === "dark"`)
	// The page loads anew in the other language.
	b.do("Chinese", chromedp.Click("#language"), chromedp.WaitVisible(`//button[text()="English"]`))
	b.size(1000, 420)
	b.show("adapters")
	b.until("the canary", `document.querySelector("[data-adapter]")?.textContent.includes("10 %")`)
	b.shoot("adapters-zh-dark")
	b.size(390, 700)
	b.show("jobs/" + first)
	b.until("the whole curve", `document.querySelector(".chart")?.dataset.train >= 300`)
	b.shoot("job-phone-zh-dark")
	return b.err
}
