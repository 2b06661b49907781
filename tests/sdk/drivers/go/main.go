// Segment's client for Go: URL BATCH.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	_ "time/tzdata"

	"github.com/segmentio/analytics-go/v3"
)

type call struct {
	Type, MessageId, UserId, AnonymousId, GroupId, PreviousId string

	Event, Name        string
	Timestamp          time.Time
	Properties, Traits map[string]any
	Integrations       analytics.Integrations
	Context            *analytics.Context
}

// A client that is closed gives up what failed once: all must be settled before.
type outcomes struct {
	pending sync.WaitGroup
	failed  atomic.Bool
}

func (o *outcomes) Success(analytics.Message) { o.pending.Done() }

func (o *outcomes) Failure(message analytics.Message, err error) {
	o.fail(err)
	o.pending.Done()
}

func (o *outcomes) fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	o.failed.Store(true)
}

func main() {
	batch, _ := strconv.Atoi(os.Args[2])
	outcomes := &outcomes{}
	client, err := analytics.NewWithConfig("key", analytics.Config{
		Endpoint:   os.Args[1],
		BatchSize:  batch,
		Interval:   200 * time.Millisecond,
		Callback:   outcomes,
		RetryAfter: func(int) time.Duration { return time.Second },
	})
	if err != nil {
		panic(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var given call
		if err := decode(lines.Bytes(), &given); err != nil {
			panic(err)
		}
		outcomes.pending.Add(1)
		if err := client.Enqueue(message(given)); err != nil {
			outcomes.fail(err)
			outcomes.pending.Done()
		}
	}
	outcomes.pending.Wait()
	client.Close()
	if outcomes.failed.Load() {
		os.Exit(1)
	}
}

// Numbers keep the digits that they have.
func decode(line []byte, given *call) error {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	return decoder.Decode(given)
}

func message(c call) analytics.Message {
	if c.Event == "Native Values" {
		c.Properties = natives()
	}
	switch c.Type {
	case "identify":
		return analytics.Identify{MessageId: c.MessageId, AnonymousId: c.AnonymousId,
			UserId: c.UserId, Timestamp: c.Timestamp, Context: c.Context,
			Traits: c.Traits, Integrations: c.Integrations}
	case "track":
		return analytics.Track{MessageId: c.MessageId, AnonymousId: c.AnonymousId,
			UserId: c.UserId, Timestamp: c.Timestamp, Context: c.Context, Event: c.Event,
			Properties: c.Properties, Integrations: c.Integrations}
	case "page":
		return analytics.Page{MessageId: c.MessageId, AnonymousId: c.AnonymousId,
			UserId: c.UserId, Timestamp: c.Timestamp, Context: c.Context, Name: c.Name,
			Properties: c.Properties, Integrations: c.Integrations}
	case "screen":
		return analytics.Screen{MessageId: c.MessageId, AnonymousId: c.AnonymousId,
			UserId: c.UserId, Timestamp: c.Timestamp, Context: c.Context, Name: c.Name,
			Properties: c.Properties, Integrations: c.Integrations}
	case "group":
		return analytics.Group{MessageId: c.MessageId, AnonymousId: c.AnonymousId,
			UserId: c.UserId, Timestamp: c.Timestamp, Context: c.Context,
			GroupId: c.GroupId, Traits: c.Traits, Integrations: c.Integrations}
	}
	return analytics.Alias{MessageId: c.MessageId, PreviousId: c.PreviousId,
		UserId: c.UserId, Timestamp: c.Timestamp, Context: c.Context,
		Integrations: c.Integrations}
}

func natives() map[string]any {
	zone := time.FixedZone("", 5*3600+45*60)
	return map[string]any{
		"time":      time.Date(2024, 2, 29, 12, 0, 0, 123456789, zone),
		"duration":  time.Minute,
		"broken":    "cut \xf0\x9f\x98",
		"bytes":     []byte("né"),
		"int":       int64(math.MinInt64),
		"big":       new(big.Int).Lsh(big.NewInt(-1), 70),
		"overflow":  json.Number("1e400"),
		"one":       json.Number("1.0"),
		"zero":      math.Copysign(0, -1),
		"float32":   float32(0.1),
		"tiny":      1e-7,
		"nil":       []any(nil),
		"pointer":   new(string),
		"struct":    struct{ A, b int }{1, 2},
		"int keys":  map[int]string{1: "a"},
		"html":      "<b>&",
		"separator": "\u2028",
	}
}
