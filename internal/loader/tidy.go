package loader

// collectEvery is how many generations come between two collections of what
// is stored and no longer used.
const collectEvery = 8

// Tidy removes stored bytes that no kept generation uses, when it is time to.
// Who publishes what a change came to calls it afterwards; else the next change
// does, or Close. What cannot be removed stays for the next time.
func (l *Loader) Tidy() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tidy()
}

func (l *Loader) tidy() {
	if l.chain == nil || !l.litter {
		return
	}
	l.litter = false
	if err := l.chain.Collect(l.options.InFlight); err != nil {
		l.notify(Event{Kind: Damaged, Reason: "collect what is stored: " + err.Error(), Err: err})
	}
}
