package job

import (
	"testing"
	"time"
)

func TestErrorTravels(t *testing.T) {
	t.Parallel()
	sent := RefusedError(CodeOverloaded, "8 requests wait", "try again", 1500*time.Millisecond)
	got := FromProto(sent.Proto())
	if got.Class != Infrastructure || got.Code != CodeOverloaded || got.Message != sent.Message || got.Next != sent.Next {
		t.Errorf("sent %+v, got %+v", sent, got)
	}
	if got.RetryAfter != 2*time.Second {
		t.Errorf("retry after %s, want the 1.5s rounded up to 2s", got.RetryAfter)
	}
	if final := UserError(CodeBadRequest, "no", "").Proto(); final.RetryAfter != nil {
		t.Error("an error that is final says when to try again")
	}
	if FromProto((*Error)(nil).Proto()) != nil {
		t.Error("no error became one")
	}
}
