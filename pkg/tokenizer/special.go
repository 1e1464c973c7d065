package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"descant/pkg/chat"
)

// specialTokens is what the configuration files of a model folder say.
type specialTokens struct {
	texts    map[string]string // bos_token, eos_token, … of tokenizer_config.json
	bos, pad int32             // -1 where there is none
	eos      []int32
	template string
}

// EOS returns the ids that end an answer: those of generation_config.json first, then that of
// config.json and the eos_token of the tokenizer.
func (t *Tokenizer) EOS() []int32 { return slices.Clone(t.special.eos) }

// BOS returns the id of bos_token, -1 where the tokenizer has none.
func (t *Tokenizer) BOS() int32 { return t.special.bos }

// PadID returns the id for padding: the pad_token, else an end of text; -1 where there is neither.
func (t *Tokenizer) PadID() int32 { return t.special.pad }

// IsSpecial says whether an id is an added token that is marked special.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.added.special[id] }

// TokenID returns the id of an added token, -1 where there is none of that text.
func (t *Tokenizer) TokenID(text string) int32 {
	if a, ok := t.added.byText[text]; ok {
		return a.ID
	}
	return -1
}

// TemplateText returns the chat template, empty where the model has none.
func (t *Tokenizer) TemplateText() string { return t.special.template }

// TemplateDigest returns sha256:… of the chat template, empty where the model has none.
func (t *Tokenizer) TemplateDigest() string {
	if t.special.template == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(t.special.template))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Template returns the parsed chat template of the model, or ErrNoTemplate.
func (t *Tokenizer) Template() (*chat.Template, error) {
	if t.template == nil {
		return nil, ErrNoTemplate
	}
	return t.template, nil
}

// SpecialTokens returns the texts of bos_token, eos_token and so on: the variables of a template.
func (t *Tokenizer) SpecialTokens() map[string]string { return t.special.texts }

func (t *Tokenizer) readSpecial(dir string) error {
	config := map[string]json.RawMessage{}
	if err := readJSON(dir, "tokenizer_config.json", &config); err != nil {
		return err
	}
	s := specialTokens{texts: map[string]string{}, bos: -1, pad: -1}
	for _, name := range []string{"bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"} {
		if text := tokenText(config[name]); text != "" {
			s.texts[name] = text
		}
	}
	s.bos = t.TokenID(s.texts["bos_token"])
	for _, name := range []string{"generation_config.json", "config.json"} {
		var file struct {
			EOS json.RawMessage `json:"eos_token_id"`
		}
		if err := readJSON(dir, name, &file); err != nil {
			return err
		}
		found, err := idList(file.EOS)
		if err != nil {
			return fmt.Errorf("%s: eos_token_id: %w", name, err)
		}
		for _, id := range found {
			s.addEOS(id)
		}
	}
	s.addEOS(t.TokenID(s.texts["eos_token"]))
	if s.pad = t.TokenID(s.texts["pad_token"]); s.pad < 0 && len(s.eos) > 0 {
		s.pad = s.eos[len(s.eos)-1]
	}
	var err error
	if s.template, err = templateText(dir, config["chat_template"]); err != nil {
		return err
	}
	t.special = s
	if s.template != "" {
		if t.template, err = chat.NewTemplate(s.template, s.texts); err != nil {
			return err
		}
	}
	return nil
}

func (s *specialTokens) addEOS(id int32) {
	if id >= 0 && !slices.Contains(s.eos, id) {
		s.eos = append(s.eos, id)
	}
}

// templateText finds the chat template: the file chat_template.jinja, a text, or in a list of named
// templates the one called default.
func templateText(dir string, raw json.RawMessage) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "chat_template.jinja"))
	if err == nil {
		return string(data), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var list []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &list); err != nil {
		return "", fmt.Errorf("tokenizer_config.json: chat_template is neither a text nor a list of templates: %w", err)
	}
	for _, e := range list {
		if e.Name == "default" {
			return e.Template, nil
		}
	}
	return "", errors.New("tokenizer_config.json: chat_template has no template named default")
}

// tokenText reads a token that is a text or an object with its content.
func tokenText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var obj struct{ Content string }
	// Another type is no token; the caller treats it as missing.
	_ = json.Unmarshal(raw, &obj)
	return obj.Content
}

// idList reads an id or a list of ids.
func idList(raw json.RawMessage) ([]int32, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var one int32
	if json.Unmarshal(raw, &one) == nil {
		return []int32{one}, nil
	}
	var list []int32
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s is neither an id nor a list of ids", raw)
	}
	return list, nil
}

// readJSON reads a file of the model folder; a missing file leaves to as it is.
func readJSON(dir, name string, to any) error {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
