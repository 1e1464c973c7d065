package world

import "strings"

// ordinary are English words that the sentences of the world lack.
var ordinary = strings.Fields(`about above across after again agree all allow along also always among and answer any April
	arrive ask assistant attach attached away back be because become before begin behind being below best better between
	both bring build busy but buy by call can careful change check choose class clear close come company copy could
	customer date day deal delay deliver department descant Descant detail different do does done down draft during each
	early easy email end English enough every example explain failed few file find first follow for friendly from full
	get give go good great group guest have hear help her here hold home hope how human idea if important in into is
	it job just keep kind know large last late learn leave less let like line list little local long look machine
	made mail make many may maybe me mean meet meeting meets melody message might minute mobile money month more most
	move much must name named near need never new next nice no note nothing now number of off offer office often old
	on once one only open or order other our out over own page parcel part pay people per perhaps person phone place
	plan please point polite possible price problem program project public put question quick quite read ready reason
	reply report request result return right run safe same say see send sentence set share she short should show side
	simple since small so some soon sorry speak staff start step still stop such summary sure table take talk team tell
	text than thank that the their them then there these they thing think this those three through time title today
	tomorrow tone too train translate travel try tune two under until up us use user very visit wait walk want warm
	was we week well were what when where which while who why will with without word work would write year yes yet you
	young your yours yourself`)

// spelling asks to copy a few words that were drawn by chance.
func (g *Generator) spelling() Row {
	words := make([]string, 1+g.n(5))
	for i := range words {
		words[i] = ordinary[g.n(len(ordinary))]
	}
	text := strings.Join(words, " ")
	return Row{Question: g.ask(pick(g.n(2) == 0, copyEnglish, copyChinese), text), Answer: text}
}
